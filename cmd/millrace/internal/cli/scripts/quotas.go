package scripts

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

// quotaEntities names, in the protocol and on the screen, what quotas are set for.
var quotaEntities = []struct{ kind, protocol, shown string }{
	{"users", "user", "user-principal"},
	{"clients", "client-id", "client-id"},
	{"ips", "ip", "ip"},
}

func quotaEntity(kind string) string {
	for _, e := range quotaEntities {
		if e.kind == kind {
			return e.protocol
		}
	}
	return kind
}

func isClientQuota(key string) bool {
	return slices.Contains([]string{"producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"}, key)
}

func isSCRAM(key string) bool { return key == "SCRAM-SHA-256" || key == "SCRAM-SHA-512" }

// alterUsers alters the quotas or the SCRAM credentials of users, or the quotas of clients.
func (s *configs) alterUsers(added map[string]string, deleted []string) error {
	quotas := false
	var scramAdded, scramDeleted, unknownAdded, unknownDeleted []string
	for _, key := range slices.Sorted(maps.Keys(added)) {
		switch {
		case isClientQuota(key):
			quotas = true
		case isSCRAM(key):
			scramAdded = append(scramAdded, key)
		default:
			unknownAdded = append(unknownAdded, key)
		}
	}
	for _, key := range deleted {
		switch {
		case isClientQuota(key):
			quotas = true
		case isSCRAM(key):
			scramDeleted = append(scramDeleted, key)
		default:
			unknownDeleted = append(unknownDeleted, key)
		}
	}
	if s.kinds[0] == "clients" || len(s.kinds) == 2 {
		if bad := append(unknownAdded, scramAdded...); len(bad) > 0 {
			return terse("Only quota configs can be added for 'clients' using --bootstrap-server. Unexpected config names: %s", scala("Set", bad))
		}
		if bad := append(unknownDeleted, scramDeleted...); len(bad) > 0 {
			return terse("Only quota configs can be deleted for 'clients' using --bootstrap-server. Unexpected config names: %s", scala("ArrayBuffer", bad))
		}
	} else {
		if len(unknownAdded) > 0 {
			return terse("Only quota and SCRAM credential configs can be added for 'users' using --bootstrap-server. Unexpected config names: %s", scala("Set", unknownAdded))
		}
		if len(unknownDeleted) > 0 {
			return terse("Only quota and SCRAM credential configs can be deleted for 'users' using --bootstrap-server. Unexpected config names: %s", scala("ArrayBuffer", unknownDeleted))
		}
		if len(scramAdded)+len(scramDeleted) > 0 {
			if slices.Contains(s.names, "") {
				return terse("The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using --bootstrap-server.")
			}
			if quotas {
				return terse("Cannot alter both quota and SCRAM credential configs simultaneously for 'users' using --bootstrap-server.")
			}
		}
	}
	if quotas {
		return s.alterQuotas(added, deleted)
	}
	return s.alterCredentials(added, scramDeleted)
}

// quotas returns the quotas that are set for exactly these kinds of entities, for the named ones if they are
// named.
func (s *configs) quotas() (kadm.DescribedClientQuotas, error) {
	if len(s.names) > len(s.kinds) {
		return nil, terse("More entity names specified than entity types")
	}
	request := kmsg.NewPtrDescribeClientQuotasRequest()
	request.Strict = true
	for i, kind := range s.kinds {
		c := kmsg.NewDescribeClientQuotasRequestComponent()
		c.EntityType = quotaEntity(kind)
		switch {
		case i >= len(s.names):
			c.MatchType = kmsg.QuotasMatchTypeAny
		case s.names[i] == "":
			c.MatchType = kmsg.QuotasMatchTypeDefault
		default:
			c.MatchType, c.Match = kmsg.QuotasMatchTypeExact, kmsg.StringPtr(s.names[i])
		}
		request.Components = append(request.Components, c)
	}
	responses, err := s.ask(request)
	if err != nil {
		return nil, err
	}
	response := responses[0].(*kmsg.DescribeClientQuotasResponse)
	if err := dial.Code(response.ErrorCode, response.ErrorMessage); err != nil {
		return nil, err
	}
	var all kadm.DescribedClientQuotas
	for _, e := range response.Entries {
		var q kadm.DescribedClientQuota
		for _, c := range e.Entity {
			q.Entity = append(q.Entity, kadm.ClientQuotaEntityComponent{Type: c.Type, Name: c.Name})
		}
		for _, v := range e.Values {
			q.Values = append(q.Values, kadm.ClientQuotaValue{Key: v.Key, Value: v.Value})
		}
		slices.SortFunc(q.Values, func(a, b kadm.ClientQuotaValue) int { return strings.Compare(a.Key, b.Key) })
		all = append(all, q)
	}
	slices.SortFunc(all, func(a, b kadm.DescribedClientQuota) int {
		return strings.Compare(entityText(a.Entity), entityText(b.Entity))
	})
	return all, nil
}

// entityText is an entity as kafka-configs shows it: user-principal 'alice', the default client-id.
func entityText(entity kadm.ClientQuotaEntity) string {
	var parts []string
	for _, e := range quotaEntities {
		for _, c := range entity {
			if c.Type != e.protocol {
				continue
			}
			if c.Name == nil || *c.Name == "" {
				parts = append(parts, "the default "+e.shown)
			} else {
				parts = append(parts, fmt.Sprintf("%s '%s'", e.shown, *c.Name))
			}
		}
	}
	return strings.Join(parts, ", ")
}

func (s *configs) describeQuotas() error {
	all, err := s.quotas()
	if err != nil {
		return err
	}
	for _, q := range all {
		var values []string
		for _, v := range q.Values {
			values = append(values, v.Key+"="+javaFloat(v.Value, 64))
		}
		s.printf("Quota configs for %s are %s\n", entityText(q.Entity), strings.Join(values, ", "))
	}
	return nil
}

func (s *configs) alterQuotas(added map[string]string, deleted []string) error {
	if len(s.kinds) != len(s.names) {
		return terse("Exactly one entity name must be specified for every entity type")
	}
	old, err := s.quotas()
	if err != nil {
		return err
	}
	var missing []string
	for _, key := range deleted {
		if len(old) == 0 || !slices.ContainsFunc(old[0].Values, func(v kadm.ClientQuotaValue) bool { return v.Key == key }) {
			missing = append(missing, key)
		}
	}
	if len(missing) > 0 {
		return terse("Invalid config(s): %s", strings.Join(missing, ","))
	}
	request := kmsg.NewPtrAlterClientQuotasRequest()
	entry := kmsg.NewAlterClientQuotasRequestEntry()
	for i, kind := range s.kinds {
		e := kmsg.NewAlterClientQuotasRequestEntryEntity()
		e.Type = quotaEntity(kind)
		if s.names[i] != "" {
			e.Name = kmsg.StringPtr(s.names[i])
		}
		entry.Entity = append(entry.Entity, e)
	}
	for _, key := range slices.Sorted(maps.Keys(added)) {
		value, err := strconv.ParseFloat(added[key], 64)
		if err != nil {
			return terse("Cannot parse quota configuration value for %s: %s", key, added[key])
		}
		op := kmsg.NewAlterClientQuotasRequestEntryOp()
		op.Key, op.Value = key, value
		entry.Ops = append(entry.Ops, op)
	}
	for _, key := range deleted {
		op := kmsg.NewAlterClientQuotasRequestEntryOp()
		op.Key, op.Remove = key, true
		entry.Ops = append(entry.Ops, op)
	}
	request.Entries = append(request.Entries, entry)
	responses, err := s.ask(request)
	if err != nil {
		return err
	}
	response := responses[0].(*kmsg.AlterClientQuotasResponse)
	for _, e := range response.Entries {
		if err := dial.Code(e.ErrorCode, e.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

// scala writes names as Scala writes a collection.
func scala(collection string, names []string) string {
	return collection + "(" + strings.Join(names, ", ") + ")"
}

var credential = regexp.MustCompile(`^(?:iterations=(-?[0-9]*),)?password=(.*)$`)

func (s *configs) alterCredentials(added map[string]string, deleted []string) error {
	mechanism := func(name string) kadm.ScramMechanism {
		if name == "SCRAM-SHA-256" {
			return kadm.ScramSha256
		}
		return kadm.ScramSha512
	}
	var deletions []kadm.DeleteSCRAM
	for _, name := range deleted {
		deletions = append(deletions, kadm.DeleteSCRAM{User: s.names[0], Mechanism: mechanism(name)})
	}
	var upserts []kadm.UpsertSCRAM
	for _, name := range slices.Sorted(maps.Keys(added)) {
		m := credential.FindStringSubmatch(added[name])
		if m == nil {
			return terse("Invalid credential property %s=%s", name, added[name])
		}
		iterations := 4096 // Kafka's default, which is also the least
		if m[1] != "" && m[1] != "-1" {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				return terse("For input string: \"%s\"", m[1])
			}
			iterations = n
		}
		if iterations < 4096 {
			return terse("Iterations %d is less than the minimum 4096 required for %s", iterations, name)
		}
		upserts = append(upserts, kadm.UpsertSCRAM{User: s.names[0], Mechanism: mechanism(name), Iterations: int32(iterations), Password: m[2]})
	}
	if err := s.brokersOnly("credentials of users"); err != nil {
		return err
	}
	altered, err := s.admin.AlterUserSCRAMs(s, deletions, upserts)
	if err != nil {
		return err
	}
	for _, a := range altered {
		if a.Err != nil {
			return dial.Explain(&kadm.ErrAndMessage{Err: a.Err, ErrMessage: a.ErrMessage})
		}
	}
	return nil
}

func (s *configs) describeCredentials() error {
	if err := s.brokersOnly("credentials of users"); err != nil {
		return err
	}
	described, err := s.admin.DescribeUserSCRAMs(s, s.names...)
	if err != nil {
		return err
	}
	for _, d := range described.Sorted() {
		if errors.Is(d.Err, kerr.ResourceNotFound) {
			continue // who has no credentials is passed over
		}
		if d.Err != nil {
			name := d.Err.Error()
			if code, ok := d.Err.(*kerr.Error); ok {
				class := javaException(code)
				name = class[strings.LastIndexByte(class, '.')+1:]
			}
			text := d.ErrMessage
			if text == "" {
				text = dial.Explain(d.Err).Error()
			}
			s.printf("Error retrieving SCRAM credential configs for user-principal '%s': ExecutionException: org.apache.kafka.common.errors.%s: %s\n", d.User, name, text)
			continue
		}
		var infos []string
		for _, i := range d.CredInfos {
			infos = append(infos, fmt.Sprintf("%s=iterations=%d", i.Mechanism, i.Iterations))
		}
		s.printf("SCRAM credential configs for user-principal '%s' are %s\n", d.User, strings.Join(infos, ", "))
	}
	return nil
}
