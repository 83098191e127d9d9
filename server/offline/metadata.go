package offline

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/quorum"
)

// formatMetadata begins the metadata log in a directory.
func formatMetadata(o FormatOptions, dir string, id kafka.DirectoryID) error {
	var records []wire.Message
	for _, level := range metadata.InitialFeatures() {
		if o.Features == nil {
			records = append(records, level)
		}
	}
	for _, f := range o.Features {
		records = append(records, &wire.FeatureLevelRecord{Name: f.Name, FeatureLevel: f.Level})
	}
	for i := range o.Credentials {
		records = append(records, &o.Credentials[i].record)
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
