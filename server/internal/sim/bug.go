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
	// TakesReplaced lets a commit of a static member through whose place another has taken, in the name of that one.
	TakesReplaced
	// ForgetsEarly lets offsets expire in half the time that they are to be kept.
	ForgetsEarly
	// KeepsOffsets tells nobody that a topic is gone.
	KeepsOffsets
	// HidesTopics hides a topic from whoever resolves regular expressions.
	HidesTopics
)
