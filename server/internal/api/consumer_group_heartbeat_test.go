package api

import "testing"

func TestWhichTopicsARegularExpressionSees(t *testing.T) {
	g := newGate(t)
	if g.call(1).describes() != nil {
		t.Error("without an authorizer somebody is asked")
	}
	g.o.Authorizer = acls{"t": true}
	if sees := g.call(1).describes(); !sees("t") || sees("u") {
		t.Errorf("t %v, u %v; want only t", sees("t"), sees("u"))
	}
}
