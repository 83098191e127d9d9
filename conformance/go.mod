module github.com/millrace-io/millrace/conformance

go 1.26.0

replace github.com/millrace-io/millrace => ../

require (
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/millrace-io/millrace v0.0.0-00010101000000-000000000000
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
	github.com/twmb/franz-go v1.22.2 // indirect
)
