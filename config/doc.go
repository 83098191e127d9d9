// Package config is one configuration key: its name, type, default, range and documentation, and how a value
// of it is parsed, checked and resolved over the layers that may set it.
//
// Keys are declared by the rooms where they act, as a [Table] each; the server joins the tables. The rules of
// parsing are those of Kafka's own properties: surrounding blanks do not count, booleans are "true" and
// "false" in any case, a list is separated by commas.
package config
