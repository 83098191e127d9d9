package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Controllers reach a cluster by its controllers (KIP-919). They answer no Metadata, so they are only known by
// the addresses that were given.
type Controllers struct {
	client *kgo.Client
}

// OpenControllers makes a client of the controllers at bootstrap.servers. The caller closes it.
func OpenControllers(p Properties) (*Controllers, error) {
	options, err := p.Options()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	return &Controllers{client}, nil
}

// Close ends the client.
func (c *Controllers) Close() { c.client.Close() }

// Request asks the controllers in turn until one answers that is active, or may answer without being so.
func (c *Controllers) Request(ctx context.Context, request kmsg.Request) (kmsg.Response, error) {
	var response kmsg.Response
	err := error(kerr.BrokerNotAvailable)
	for _, seed := range c.client.SeedBrokers() {
		response, err = seed.Request(ctx, request)
		if err == nil && !errors.Is(errorOf(response), kerr.NotController) {
			return response, nil
		}
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return nil, fmt.Errorf("no controller answers on %s (%s): is it the address of a controller listener?", network.Addr, strings.TrimPrefix(network.Err.Error(), "connect: "))
	}
	if err == nil {
		err = fmt.Errorf("none of the controllers that were named is the active one; name them all")
	}
	return nil, err
}

// errorOf returns the error of a response of which controllers alone decide.
func errorOf(response kmsg.Response) error {
	switch r := response.(type) {
	case *kmsg.UnregisterBrokerResponse:
		return kerr.ErrorForCode(r.ErrorCode)
	case *kmsg.DescribeClusterResponse:
		return kerr.ErrorForCode(r.ErrorCode)
	case *kmsg.IncrementalAlterConfigsResponse:
		for _, resource := range r.Resources {
			if err := kerr.ErrorForCode(resource.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}
