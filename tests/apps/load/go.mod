module tidegate.test/load

go 1.19
