// Package api answers requests: one file per API key, which decodes, authorizes, calls the one room that owns the
// answer, and encodes. Versions end here: no room below knows them.
//
// A file says on top which versions there are and how the API behaves, then has the code. The shape of most is a
// function from a call and a decoded request to a response, registered in table.go by answer or, when the owner may
// take its time, by blocking. Produce and Fetch have codecs and pooled requests of their own.
package api
