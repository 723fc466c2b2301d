module tidegate.test/bulk

go 1.19
