package offline

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/quorum"
)

// featureLevels are what a new cluster starts with: those of Apache Kafka 4.4.0.
var featureLevels = []wire.FeatureLevelRecord{
	{Name: "metadata.version", FeatureLevel: 33},
	{Name: "eligible.leader.replicas.version", FeatureLevel: 1},
	{Name: "group.version", FeatureLevel: 1},
	{Name: "share.version", FeatureLevel: 2},
	{Name: "streams.version", FeatureLevel: 1},
	{Name: "transaction.version", FeatureLevel: 2},
}

// formatMetadata begins the metadata log in a directory.
func formatMetadata(o FormatOptions, dir string, id kafka.DirectoryID) error {
	var records []wire.Message
	for i := range featureLevels {
		records = append(records, &featureLevels[i])
	}
	var voters []quorum.Voter
	if !o.StaticVoters {
		me := quorum.Voter{ID: o.NodeID, DirectoryID: id}
		for _, e := range o.Endpoints {
			me.Endpoints = append(me.Endpoints, quorum.VoterEndpoint{Name: e.Name, Host: e.Host, Port: e.Port})
		}
		voters = append(voters, me)
	}
	return quorum.Format(o.FS, dir, records, voters)
}
