// Package definitions describes every request, response and stored record of the protocol once, as schemas
// that the code generator, the fuzzers and the differential runner read.
//
// The schemas are the .def files beside this one: one per API (its request and response) and one per family of
// stored records (records_*.def). The language:
//
//	# a comment runs to the end of the line
//
//	api 22 InitProducerId            the API key and Kafka's name
//	  versions  0-5                  versions that are stable
//	  unstable  6                    the newest version, where it is not stable yet (optional)
//	  flexible  2+                   from here on: compact lengths and tagged fields (or: none)
//	  listeners broker controller    where it is answered
//	  flags     forwarded cluster-action   forwarded: a broker hands it to the active controller;
//	                                       cluster-action: the caller must be a node of the cluster
//
//	request                          fields in wire order; indentation nests a struct's fields
//	  transactional_id  string?
//	  producer_id       int64    3+ = -1
//	  topics            []struct 4+
//	    name            string
//
//	response
//	  ...
//
// A field is a name, a type and, in this order and only where they say something:
//
//	3+  3-12  3     the versions that have it; otherwise all versions of what it is nested in
//	null 10+        the versions in which it may be null; a type with ? may be null in all of its versions
//	tag 0           it is a tagged field: written only when it is not the default, found by its tag
//	= -1            its default where that is not the zero value; = null for what may be null
//
// Types are bool, int8, int16, int32, int64, uint16, uint32, float64, string, uuid, bytes, records (bytes that
// hold record batches) and struct; [] before a type is an array of it.
//
// A file of records begins with "family NAME" (or has none) and holds blocks of one line and fields:
//
//	record TopicRecord type 2 versions 0-0 flexible 0+
//
// where the first word says how the record is framed: record (self-framed, see the file's own comment), key and
// value (of one record of a coordinator's topic), message (not framed), described (the codec is written by hand).
package definitions
