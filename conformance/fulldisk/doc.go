// Package fulldisk runs a node on a real file system that is full: a small one of its own, which the test mounts.
package fulldisk
