//go:build !linux

package listener

// msgMore says nothing: only Linux can be told that more follows.
const msgMore = 0
