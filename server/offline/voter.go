//lint:file-ignore ST1005 kafka-storage prints these errors, in the words of Kafka's own

package offline

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/kafka"
)

// voter is one of the first of a quorum that keeps its voters in its log (KIP-853), as command lines name it:
//
//	1@controller.example:9093:JEXY6aqzQY-32P5TStzaFg
//	1@[::1]:9093:JEXY6aqzQY-32P5TStzaFg
type voter struct {
	node      int32
	host      string
	port      uint16
	directory kafka.DirectoryID
}

// parseVoters reads voters with commas between them.
func parseVoters(text string) ([]voter, error) {
	var voters []voter
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		v, err := parseVoter(one)
		if err != nil {
			return nil, err
		}
		voters = append(voters, v)
	}
	if len(voters) == 0 {
		return nil, errors.New("No voters given.")
	}
	return voters, nil
}

func parseVoter(text string) (v voter, err error) {
	id, rest, ok := strings.Cut(text, "@")
	switch {
	case !ok:
		return v, errors.New("No @ found in dynamic voter string.")
	case id == "":
		return v, errors.New("Invalid @ at beginning of dynamic voter string.")
	}
	node, err := strconv.ParseInt(id, 10, 32)
	switch {
	case err != nil:
		return v, errors.New("Failed to parse node id in dynamic voter string.")
	case node < 0:
		return v, fmt.Errorf("Invalid negative node id %d in dynamic voter string.", node)
	case rest == "":
		return v, errors.New("No hostname found after node id.")
	}
	v.node = int32(node)
	if inside, bracket := strings.CutPrefix(rest, "["); bracket {
		if v.host, rest, ok = strings.Cut(inside, "]"); !ok {
			return v, errors.New("Hostname began with left bracket, but no right bracket was found.")
		}
		if rest, ok = strings.CutPrefix(rest, ":"); !ok {
			return v, errors.New("Port section must start with a colon.")
		}
	} else if v.host, rest, ok = strings.Cut(rest, ":"); !ok {
		return v, errors.New("No colon following hostname could be found.")
	}
	number, directory, ok := strings.Cut(rest, ":")
	if !ok {
		return v, errors.New("No colon following port could be found.")
	}
	port, err := strconv.ParseInt(number, 10, 32)
	switch {
	case err != nil:
		return v, errors.New("Failed to parse port in dynamic voter string.")
	case port < 0 || port > 65535:
		return v, fmt.Errorf("Invalid port %d in dynamic voter string.", port)
	}
	v.port = uint16(port)
	if v.directory, err = kafka.ParseUUID(directory); err != nil {
		return v, errors.New("Failed to parse directory ID in dynamic voter string.")
	}
	return v, nil
}
