package listener

import "golang.org/x/sys/unix"

// msgMore says of what is written to a socket that more follows.
const msgMore = unix.MSG_MORE
