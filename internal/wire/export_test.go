package wire

// ChargedBy returns what decoding into a fresh request charges, for the tests of the cost bound.
func (p *Produce) ChargedBy(version int16, body []byte) int {
	r := Reader{rest: body}
	new(Produce).decode(&r, version)
	return r.charged
}

// ChargedBy returns what decoding into a fresh request charges, for the tests of the cost bound.
func (f *Fetch) ChargedBy(version int16, body []byte) int {
	r := Reader{rest: body}
	new(Fetch).decode(&r, version)
	return r.charged
}
