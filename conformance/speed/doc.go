// Package speed races Millrace against a floor, against its peers and against itself, and says which goals of
// docs/performance.md hold.
//
// A row is one load. Its contenders take turns, round after round, each from a fresh start on fresh data, so that
// whatever else the machine does hits all of them; medians are compared. Of all figures the CPU seconds of the server
// per GB mind a busy machine least.
//
// The load generator (KLOAD) and the floor, a server that does the least a broker can do (KFLOOR), are programs of
// their own, given by path. Races are benchmarks, so that nothing runs them by accident:
//
//	KLOAD=… KFLOOR=… go test ./speed -run '^$' -bench Race -benchtime 1x -timeout 2h
//	go test ./speed -run '^$' -bench Footprint -benchtime 1x -timeout 30m
//	go test ./speed -run '^$' -bench Groups -benchtime 1x -timeout 1h
//
// ROUNDS says how often (5), ROWS which rows (a regular expression), SECONDS how long each takes (3), KAFKA=no leaves
// Apache Kafka out.
package speed
