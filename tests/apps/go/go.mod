module tidegate.test/app

go 1.19
