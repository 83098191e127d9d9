// Package record owns a record batch as bytes: a view of its header, building, checksums, compression, the
// validation of what a producer sends, control batches, and the old formats as far as they must stay readable.
//
// A batch passes through a node without being taken apart. Batch is a view of its bytes, which the log patches in
// place. Where the records must be looked at they stream by: ValidateProduce and Batch.Records hold a window of
// the decompressed bytes, not all of them, and make no garbage per record. What keeps the window and the state of
// the decompressors between batches is a Decompressor; a Pool lends them.
package record
