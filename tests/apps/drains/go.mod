module tidegate.test/drains

go 1.19
