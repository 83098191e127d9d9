// Package metadata owns what is true about the cluster: records of the metadata log become immutable images.
//
// An Image is the state after some record. It never changes; readers keep the one they have for as long as they like.
// A Delta is an image in the making: it replays records over a base and knows what they touched. This is the only
// place in the house where metadata records are given their meaning. A Loader turns the committed log into a sequence
// of images and tells its publishers of each.
//
// An image is made of persistent B-trees (copy on write), so that a change of k topics, brokers or configs costs
// O(k log n) however large the cluster is; a changed topic is copied with its list of partitions, whose unchanged
// elements are shared. Old and new state can be told apart by comparing pointers.
package metadata
