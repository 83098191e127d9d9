package sim

// Bug is a fault that is planted between the coordinator and the rest, to see that the simulator finds it.
type Bug uint8

const (
	NoBug Bug = iota
	// AnswersBeforeCommit takes a batch for committed as soon as it is appended.
	AnswersBeforeCommit
	// KeepsTheDead lets no session end: a member stays that is gone.
	KeepsTheDead
	// TakesOldCommits lets a commit of an old generation through, in the name of a member of the newest.
	TakesOldCommits
	// LeavesUnsynced takes what was appended for committed, without a sync of the disk.
	LeavesUnsynced
)
