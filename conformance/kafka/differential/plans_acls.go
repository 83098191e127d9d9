package differential

import (
	"github.com/millrace-io/millrace/internal/wire"
)

// Neither side has an authorizer, so that there are no entries: what is compared is who is told so, and how.

// acl is an entry, or a filter where the name is null.
type acl struct {
	resource, pattern, operation, permission int8
	name                                     *string
}

func (w *world) describeACLs(a acl) {
	w.add(Step{What: "describe access control", Key: wire.KeyDescribeAcls, Version: w.at(wire.KeyDescribeAcls), Conn: w.on(wire.KeyDescribeAcls), Make: func(s *Side) wire.Message {
		r := wire.NewDescribeAclsRequest()
		r.ResourceTypeFilter, r.PatternTypeFilter, r.Operation, r.PermissionType, r.ResourceNameFilter = a.resource, a.pattern, a.operation, a.permission, a.name
		return r
	}})
}

func (w *world) createACLs(all ...acl) {
	w.add(Step{What: "create access control", Key: wire.KeyCreateAcls, Version: w.at(wire.KeyCreateAcls), Conn: w.on(wire.KeyCreateAcls), Make: func(s *Side) wire.Message {
		r := wire.NewCreateAclsRequest()
		for _, a := range all {
			one := wire.NewCreateAclsRequestCreations()
			one.ResourceType, one.ResourcePatternType, one.Operation, one.PermissionType, one.Principal, one.Host = a.resource, a.pattern, a.operation, a.permission, "User:someone", "*"
			if a.name != nil {
				one.ResourceName = *a.name
			}
			r.Creations = append(r.Creations, one)
		}
		return r
	}})
}

func (w *world) deleteACLs(all ...acl) {
	w.add(Step{What: "delete access control", Key: wire.KeyDeleteAcls, Version: w.at(wire.KeyDeleteAcls), Conn: w.on(wire.KeyDeleteAcls), Make: func(s *Side) wire.Message {
		r := wire.NewDeleteAclsRequest()
		for _, a := range all {
			one := wire.NewDeleteAclsRequestFilters()
			one.ResourceTypeFilter, one.PatternTypeFilter, one.Operation, one.PermissionType, one.ResourceNameFilter = a.resource, a.pattern, a.operation, a.permission, a.name
			r.Filters = append(r.Filters, one)
		}
		return r
	}})
}

var (
	aclName  = "some"
	anyACL   = acl{1, 1, 1, 1, nil}
	readACL  = acl{2, 3, 3, 3, &aclName}
	groupACL = acl{3, 4, 8, 2, &aclName}
	oddACL   = acl{9, 5, 99, -4, &aclName} // which do not exist
)

// unknownACLs each have one part that is UNKNOWN.
var unknownACLs = []acl{{0, 3, 3, 3, &aclName}, {2, 0, 3, 3, &aclName}, {2, 3, 0, 3, &aclName}, {2, 3, 3, 0, &aclName}}

var describeACLsValid = []move{
	func(w *world) { w.describeACLs(anyACL) },
	func(w *world) { w.describeACLs(readACL) },
	func(w *world) { w.describeACLs(oddACL) },
}

var createACLsValid = []move{
	func(w *world) { w.createACLs(readACL) },
	func(w *world) { w.createACLs(readACL, groupACL, oddACL) },
	func(w *world) { w.createACLs() },
	func(w *world) { w.createACLs(anyACL) },
}

var deleteACLsValid = []move{
	func(w *world) { w.deleteACLs(anyACL) },
	func(w *world) { w.deleteACLs(readACL, groupACL, oddACL) },
	func(w *world) { w.deleteACLs() },
}

var describeACLsBad, createACLsBad, deleteACLsBad = unknown((*world).describeACLs),
	unknown(func(w *world, a acl) { w.createACLs(readACL, a) }), unknown(func(w *world, a acl) { w.deleteACLs(readACL, a) })

func unknown(ask func(*world, acl)) (moves []move) {
	for _, a := range unknownACLs {
		moves = append(moves, func(w *world) { ask(w, a) })
	}
	return moves
}
