package api

import (
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// TestAccessControlIsDisabled: who carries access control along (MirrorMaker) asks whether there is any, and takes nothing
// but SECURITY_DISABLED for an answer.
func TestAccessControlIsDisabled(t *testing.T) {
	g := newGate(t)
	for _, table := range []*Table{New(g.o), NewController(g.o)} {
		ask := g.serve(table)
		describe, described := wire.NewDescribeAclsRequest(), wire.NewDescribeAclsResponse()
		describe.ResourceTypeFilter, describe.PatternTypeFilter, describe.Operation, describe.PermissionType = 1, 1, 1, 1
		creation, create, created := wire.NewCreateAclsRequestCreations(), wire.NewCreateAclsRequest(), wire.NewCreateAclsResponse()
		creation.ResourceType, creation.Operation, creation.PermissionType = 2, 3, 3
		create.Creations = []wire.CreateAclsRequestCreations{creation, creation}
		filter, remove, removed := wire.NewDeleteAclsRequestFilters(), wire.NewDeleteAclsRequest(), wire.NewDeleteAclsResponse()
		filter.ResourceTypeFilter, filter.Operation, filter.PermissionType = 2, 3, 3
		remove.Filters = []wire.DeleteAclsRequestFilters{filter, filter}
		for version := int16(1); version <= 3; version++ {
			for _, err := range []error{ask(describe, described, version), ask(create, created, version), ask(remove, removed, version)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			if described.ErrorCode != kafka.SecurityDisabled || described.ErrorMessage == nil || *described.ErrorMessage != noAuthorizer {
				t.Errorf("version %d: described as %+v", version, described)
			}
			if len(created.Results) != 2 || created.Results[1].ErrorCode != kafka.SecurityDisabled || len(removed.FilterResults) != 2 || removed.FilterResults[1].ErrorCode != kafka.SecurityDisabled {
				t.Errorf("version %d: created as %+v, deleted as %+v", version, created, removed)
			}
		}
		describe.Operation = 0 // ends the connection
		if err := ask(describe, described, 3); err == nil {
			t.Error("an unknown operation was answered")
		}
	}
}
