package api

import (
	"maps"
	"regexp"
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// ApiVersions, versions 0 to 5: what is served here, and which features there are. From version 3 on clients name
// themselves (KIP-511), from version 5 on the node that they believe to talk to (KIP-1242). A version of the future is
// answered by the listener.

// softwareName is what a client may call itself and its version.
var softwareName = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

func apiVersions(c *call, request *wire.ApiVersionsRequest) wire.Message {
	response := wire.NewApiVersionsResponse()
	if !validAPIVersions(request, c.version()) {
		response.ErrorCode = kafka.InvalidRequest
		return response
	}
	if c.version() >= 3 {
		c.Conn.SoftwareName, c.Conn.SoftwareVersion = request.ClientSoftwareName, request.ClientSoftwareVersion
	}
	if c.version() >= 5 && request.ClusterID != nil && (*request.ClusterID != c.t.o.ClusterID || request.NodeID != c.t.o.NodeID) {
		response.ErrorCode = kafka.RebootstrapRequired
		return response
	}
	response.ApiKeys = c.t.versions
	for _, name := range slices.Sorted(maps.Keys(c.t.o.Features)) {
		levels := c.t.o.Features[name]
		if levels.Min == 0 && c.version() < 4 {
			continue // the version cannot say that a feature may be off
		}
		response.SupportedFeatures = append(response.SupportedFeatures, wire.ApiVersionsResponseSupportedFeatures{Name: name, MinVersion: levels.Min, MaxVersion: levels.Max})
	}
	response.FinalizedFeaturesEpoch = c.image.Offset()
	finalized := c.finalizedFeatures()
	for _, name := range slices.Sorted(maps.Keys(finalized)) {
		level := finalized[name]
		response.FinalizedFeatures = append(response.FinalizedFeatures, wire.ApiVersionsResponseFinalizedFeatures{Name: name, MinVersionLevel: level, MaxVersionLevel: level})
	}
	return response
}

// finalizedFeatures returns the levels that hold in the cluster and that this node keeps what they promise of. A cluster
// that came from Apache Kafka may have finalized more: a client that was told of it would speak to a coordinator that
// is not there.
func (c *call) finalizedFeatures() map[string]int16 {
	finalized := c.image.Features()
	if q := c.t.o.Quorum; q != nil && q.KRaftVersion() > 0 {
		finalized[metadata.KRaftVersionFeature] = q.KRaftVersion() // the one level that the quorum keeps, not the image
	}
	maps.DeleteFunc(finalized, func(name string, level int16) bool {
		served, known := c.t.o.Features[name]
		return !known || level > served.Max
	})
	return finalized
}

// validAPIVersions reports whether a client names itself properly, and the node that it believes to talk to by both
// cluster and number or not at all.
func validAPIVersions(request *wire.ApiVersionsRequest, version int16) bool {
	if version >= 5 && (request.ClusterID == nil) != (request.NodeID == kafka.NoNode) {
		return false
	}
	return version < 3 || softwareName.MatchString(request.ClientSoftwareName) && softwareName.MatchString(request.ClientSoftwareVersion)
}
