//lint:file-ignore ST1005 kafka-storage prints these errors, in the words of Kafka's own

package offline

import (
	"errors"
	"fmt"

	"github.com/millrace-io/millrace/server/internal/metadata"
)

// FormatRequest is what a command line asks for beside the properties of the node, in the words of kafka-storage format:
// every command that formats understands and refuses the same.
type FormatRequest struct {
	ClusterID       string
	IgnoreFormatted bool

	// Who the first voters are, where controller.quorum.voters does not say so: one of the three.
	Standalone           bool
	NoInitialControllers bool
	InitialControllers   *string // id@host:port:directory; nil when it is not given

	// Release is that whose features the cluster begins with, nil for the newest; Features are levels, feature=level, that
	// differ from it.
	Release  *string
	Features []string
	// Credentials are of SCRAM: MECHANISM=[name=alice,password=secret].
	Credentials []string
}

// scramSince is the level of metadata.version from which on there are SCRAM credentials in the metadata.
const scramSince = 11

// Complete adds what is asked for to what the properties say, and returns the release that the cluster begins with.
func (r FormatRequest) Complete(o *FormatOptions) (Release, error) {
	o.ClusterID, o.IgnoreFormatted = r.ClusterID, r.IgnoreFormatted
	if err := r.firstVoters(o); err != nil {
		return Release{}, err
	}
	release, err := r.release(o)
	if err != nil {
		return release, err
	}
	for _, text := range r.Credentials {
		credential, err := ParseCredential(text)
		if err != nil {
			return release, err
		}
		o.Credentials = append(o.Credentials, credential)
	}
	if len(o.Credentials) > 0 && release.Level < scramSince {
		return release, errors.New("SCRAM is only supported in metadata.version 3.5-IV2 or later.")
	}
	return release, nil
}

// firstVoters sees that the request and the properties agree on who the first voters are.
func (r FormatRequest) firstVoters(o *FormatOptions) error {
	switch {
	case o.StaticVoters && (r.Standalone || r.InitialControllers != nil):
		return errors.New("You cannot specify controller.quorum.voters and format the node with --initial-controllers or --standalone. If you want to use dynamic quorum, please remove controller.quorum.voters and specify controller.quorum.bootstrap.servers instead.")
	case o.StaticVoters:
		return nil
	case r.NoInitialControllers:
		return errors.New("this version runs single nodes, each its own first voter: use --standalone rather than --no-initial-controllers")
	case r.InitialControllers != nil:
		return initialController(o, *r.InitialControllers)
	case !r.Standalone:
		return errors.New("Because controller.quorum.voters is not set on this controller, you must specify one of the following: --standalone, --initial-controllers, or --no-initial-controllers.")
	}
	return nil
}

// initialController makes the node the voter that is named. Others beside it, or another in its place, would be a quorum of
// several nodes.
func initialController(o *FormatOptions, text string) error {
	voters, err := parseVoters(text)
	switch {
	case err != nil:
		return err
	case len(voters) > 1:
		return fmt.Errorf("--initial-controllers is %s; this version runs a quorum of one", text)
	case voters[0].node != o.NodeID:
		return fmt.Errorf("--initial-controllers names node %d, but node.id is %d; this version runs a quorum of one", voters[0].node, o.NodeID)
	}
	o.VoterDirectoryID = voters[0].directory
	for i := range o.Endpoints {
		o.Endpoints[i].Host, o.Endpoints[i].Port = voters[0].host, voters[0].port
	}
	return nil
}

// release finds the release and the features that the cluster begins with.
func (r FormatRequest) release(o *FormatOptions) (Release, error) {
	release := LatestRelease()
	var err error
	if r.Release != nil {
		if release, err = FindRelease(*r.Release); err != nil {
			return release, err
		}
	}
	var asked []FeatureLevel
	for _, text := range r.Features {
		f, err := ParseFeature(text)
		if err != nil {
			return release, err
		}
		switch {
		case f.Name == metadata.MetadataVersionFeature && r.Release != nil:
			return release, errors.New("Use --release-version instead of --feature metadata.version=X to avoid ambiguity.")
		case f.Name == metadata.MetadataVersionFeature:
			if release, err = ReleaseOf(f.Level); err != nil {
				return release, err
			}
		case f.Name == metadata.KRaftVersionFeature && f.Level == 0 && !o.StaticVoters:
			return release, errors.New("Cannot set kraft.version to 0 if controller.quorum.voters is empty and one of the flags --standalone, --initial-controllers, or --no-initial-controllers is used. For dynamic controllers support, try removing the --feature flag for kraft.version.")
		case f.Name == metadata.KRaftVersionFeature && f.Level > 0 && o.StaticVoters:
			return release, fmt.Errorf("Cannot set kraft.version to %d unless controller.quorum.voters is empty and one of the flags --standalone, --initial-controllers, or --no-initial-controllers is used. For dynamic controllers support, try using one of --standalone, --initial-controllers, or --no-initial-controllers and removing controller.quorum.voters.", f.Level)
		}
		asked = append(asked, f)
	}
	o.Features, err = InitialFeatures(release, asked)
	return release, err
}
