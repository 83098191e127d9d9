module github.com/millrace-io/millrace/conformance

go 1.26

replace github.com/millrace-io/millrace => ../
