// Package hostile sends a node what no client should: broken frames, requests that never end, answers that nobody takes,
// requests that ask for more than they cost, and crowds. Meanwhile a bystander writes and reads as clients do.
// The node must not fall over, must stay inside its memory, must go on to serve the bystander, and must have given
// everything back when it is over.
package hostile
