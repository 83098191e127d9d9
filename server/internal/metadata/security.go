package metadata

import (
	"github.com/millrace-io/millrace/internal/wire"
)

func (d *Delta) ownACLs() {
	if !d.own.acls {
		d.own.acls = true
		d.next.acls = d.next.acls.edit()
	}
}

func (d *Delta) replayACL(m *wire.AccessControlEntryRecord) error {
	d.ownACLs()
	d.next.acls.b.ReplaceOrInsert(&ACL{m.ID, m.ResourceType, m.ResourceName, m.PatternType, m.Principal, m.Host, m.Operation, m.PermissionType})
	touch(&d.sets.acls, m.ID)
	return nil
}

func (d *Delta) replayRemoveACL(m *wire.RemoveAccessControlEntryRecord) error {
	if d.next.ACL(m.ID) == nil {
		return refuse(m, "there is no access control entry with the id %s", m.ID)
	}
	d.ownACLs()
	d.next.acls.b.Delete(&ACL{ID: m.ID})
	touch(&d.sets.acls, m.ID)
	return nil
}

func (d *Delta) ownScram() {
	if !d.own.scram {
		d.own.scram = true
		d.next.scram = d.next.scram.edit()
	}
}

func (d *Delta) replayScram(m *wire.UserScramCredentialRecord) error {
	d.ownScram()
	d.next.scram.b.ReplaceOrInsert(&ScramCredential{m.Name, m.Mechanism, m.Salt, m.StoredKey, m.ServerKey, m.Iterations})
	touch(&d.sets.scram, scramKey{m.Name, m.Mechanism})
	return nil
}

func (d *Delta) replayRemoveScram(m *wire.RemoveUserScramCredentialRecord) error {
	if d.next.ScramCredential(m.Name, m.Mechanism) == nil {
		return refuse(m, "user %s has no credential for the mechanism %d", m.Name, m.Mechanism)
	}
	d.ownScram()
	d.next.scram.b.Delete(&ScramCredential{User: m.Name, Mechanism: m.Mechanism})
	touch(&d.sets.scram, scramKey{m.Name, m.Mechanism})
	return nil
}

func (d *Delta) ownTokens() {
	if !d.own.tokens {
		d.own.tokens = true
		d.next.tokens = d.next.tokens.edit()
	}
}

func (d *Delta) replayToken(m *wire.DelegationTokenRecord) error {
	d.ownTokens()
	d.next.tokens.b.ReplaceOrInsert(&DelegationToken{m.TokenID, m.Owner, m.Requester, m.Renewers, m.IssueTimestamp, m.MaxTimestamp, m.ExpirationTimestamp})
	touch(&d.sets.tokens, m.TokenID)
	return nil
}

// replayRemoveToken takes a token away. One that is gone already is no mistake: a controller of Apache Kafka that is
// asked twice in quick succession writes the record twice.
func (d *Delta) replayRemoveToken(m *wire.RemoveDelegationTokenRecord) error {
	if d.next.DelegationToken(m.TokenID) == nil {
		return nil
	}
	d.ownTokens()
	d.next.tokens.b.Delete(&DelegationToken{ID: m.TokenID})
	touch(&d.sets.tokens, m.TokenID)
	return nil
}
