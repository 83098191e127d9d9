package vfs

import "unsafe"

// Direct is a flag of OpenFile: what is written goes to the disk past the page cache, which saves a copy and the memory
// when it is not read again. Sync is as necessary as ever. Positions and lengths are then multiples of DirectSector, and
// the bytes lie in an AlignedBuffer. It is a wish: where the file system or the disk cannot do that, the page cache is
// used.
const Direct = 1 << 30

// DirectSector is what positions and lengths in a file opened with Direct are multiples of.
const DirectSector = 512

// directPage is a multiple of every disk's sector, and of a page of memory: a buffer that begins at one takes the fewest
// pages.
const directPage = 4096

// AlignedBuffer makes an empty buffer of capacity n, or a little more, that can be written to a file opened with Direct.
func AlignedBuffer(n int) []byte {
	n = (n + DirectSector - 1) &^ (DirectSector - 1)
	b := make([]byte, n+directPage-1)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (directPage - 1))
	return b[skip : skip : skip+n]
}

// aligned reports whether bytes can be written to a place past the page cache.
func aligned(p []byte, off int64) bool {
	address := uintptr(unsafe.Pointer(unsafe.SliceData(p)))
	return (uint64(off)|uint64(len(p))|uint64(address))%DirectSector == 0
}
