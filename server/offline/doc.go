// Package offline works on the files of a node that is not running: it formats directories, says what they are
// formatted as, and holds the locks that keep two processes out of one directory.
package offline
