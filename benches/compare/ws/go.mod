module tidegate/benches/ws

go 1.19
