// Package clients takes real input through Millrace with the clients that people use: each writer writes one
// topic per codec that it has, every reader reads all of them, and what comes out must be what went in, byte for
// byte and in order per partition.
//
// The input is the Debian package index: a record per package, its name as key. Readers assign partitions
// themselves. Clients that are not Go are small programs in drivers/, all with the same command line:
//
//	DRIVER write BOOTSTRAP PARTITIONS INPUT TOPIC=CODEC...    record i goes to partition i mod PARTITIONS
//	DRIVER read  BOOTSTRAP PARTITIONS TOPIC...                prints "TOPIC PARTITION COUNT SHA256" lines
//
// INPUT holds, for each record, a uint32 length and the key, a uint32 length and the value, big-endian. The digest
// of a partition is over the same bytes of its records, in the order of their offsets.
//
// The behaviours of clients around the bulk of records (nulls, headers, timestamps, limits, metadata, retries) are tested
// with sessions: a driver, or a client of this process, that stays connected and does single things.
//
//	DRIVER session BOOTSTRAP                       answers each line of its standard input
//	  put TOPIC PARTITION TIMESTAMP KEY VALUE [NAME:VALUE...]    "ok OFFSET" or "error MESSAGE"
//	  get TOPIC PARTITION                                        "record OFFSET TIMESTAMP KEY VALUE [NAME:VALUE...]"
//	                                                             for each record, then "ok" or "error MESSAGE"
//
// Bytes are written as x and their hexadecimal digits, or null.
//
// The drivers are members of groups as well, as the package groups describes it.
//
// A client that cannot be installed is a failure, not a skip. CLIENT_RECORDS sets how many packages the matrix takes
// (3000), CLIENT_BYTES makes TestBulk take so many bytes through each client, and CLIENT_SERVER=kafka runs all of it
// against Apache Kafka.
package clients
