package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// DescribeAcls, CreateAcls and DeleteAcls, versions 1 to 3. No authorizer is configured: a properties file that names one is
// refused. Kafka says SECURITY_DISABLED then, which those who carry access control along take for "there is none" (MirrorMaker);
// that the API is missing they take for a failure, and come back with it again and again.

const noAuthorizer = "no authorizer is configured, so there is no access control list"

// unknownACL reports whether a part of an entry, or of a filter, is the UNKNOWN of Kafka's enumerations: such a request ends its
// connection.
func unknownACL(resource, pattern, operation, permission int8) bool {
	return resource == 0 || pattern == 0 || operation == 0 || permission == 0
}

func describeACLs(c *call, request *wire.DescribeAclsRequest) wire.Message {
	if unknownACL(request.ResourceTypeFilter, request.PatternTypeFilter, request.Operation, request.PermissionType) {
		return nil
	}
	response := wire.NewDescribeAclsResponse()
	response.ErrorCode, response.ErrorMessage = c.withoutAuthorizer(OpDescribe)
	return response
}

func createACLs(c *call, request *wire.CreateAclsRequest) wire.Message {
	code, message := c.withoutAuthorizer(OpAlter)
	response := wire.NewCreateAclsResponse()
	for _, a := range request.Creations {
		if unknownACL(a.ResourceType, a.ResourcePatternType, a.Operation, a.PermissionType) {
			return nil
		}
		response.Results = append(response.Results, wire.CreateAclsResponseResults{ErrorCode: code, ErrorMessage: message})
	}
	return response
}

func deleteACLs(c *call, request *wire.DeleteAclsRequest) wire.Message {
	code, message := c.withoutAuthorizer(OpAlter)
	response := wire.NewDeleteAclsResponse()
	for _, f := range request.Filters {
		if unknownACL(f.ResourceTypeFilter, f.PatternTypeFilter, f.Operation, f.PermissionType) {
			return nil
		}
		response.FilterResults = append(response.FilterResults, wire.DeleteAclsResponseFilterResults{ErrorCode: code, ErrorMessage: message})
	}
	return response
}

// withoutAuthorizer is the answer to whoever asks for access control.
func (c *call) withoutAuthorizer(operation ACLOperation) (kafka.ErrorCode, *string) {
	if !c.allowed(operation, ResCluster, clusterName) {
		return kafka.ClusterAuthorizationFailed, nil
	}
	message := noAuthorizer
	return kafka.SecurityDisabled, &message
}
