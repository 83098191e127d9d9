package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// trim drops what Java's String.trim drops: every character up to and including the blank.
func trim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
}

// ParseBool reads "true" or "false", in any case and with blanks around.
func ParseBool(s string) (bool, error) {
	switch t := trim(s); {
	case strings.EqualFold(t, "true"):
		return true, nil
	case strings.EqualFold(t, "false"):
		return false, nil
	}
	return false, errors.New(`want "true" or "false"`)
}

// ParseInt16 reads a whole number of 16 bits.
func ParseInt16(s string) (int16, error) {
	n, err := strconv.ParseInt(trim(s), 10, 16)
	if err != nil {
		return 0, errors.New("want a whole number between -32768 and 32767")
	}
	return int16(n), nil
}

// ParseInt32 reads a whole number of 32 bits.
func ParseInt32(s string) (int32, error) {
	n, err := strconv.ParseInt(trim(s), 10, 32)
	if err != nil {
		return 0, errors.New("want a whole number between -2147483648 and 2147483647")
	}
	return int32(n), nil
}

// ParseInt64 reads a whole number of 64 bits.
func ParseInt64(s string) (int64, error) {
	n, err := strconv.ParseInt(trim(s), 10, 64)
	if err != nil {
		return 0, errors.New("want a whole number of at most 64 bits")
	}
	return n, nil
}

// ParseFloat64 reads a number as Java's Double.parseDouble does: a type suffix (d, f) is allowed, and a value
// too large is infinite.
func ParseFloat64(s string) (float64, error) {
	t := trim(s)
	wrong := errors.New("want a number")
	if strings.Contains(t, "_") {
		return 0, wrong
	}
	switch strings.TrimLeft(t, "+-") {
	case "NaN":
		return math.NaN(), nil
	case "Infinity":
		if t[0] == '-' {
			return math.Inf(-1), nil
		}
		return math.Inf(1), nil
	}
	if strings.ContainsAny(t, "nN") { // Go also takes "inf" and "nan"; Java does not
		return 0, wrong
	}
	digits := t
	if n := len(t); n > 1 && strings.ContainsRune("dDfF", rune(t[n-1])) {
		digits = t[:n-1]
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, wrong
	}
	return f, nil
}

// ParseList splits at commas and drops the blanks around each element. The empty string is the empty list;
// an empty element (as in "a,,b" or "a,") is kept, for the key's validator to judge.
func ParseList(s string) []string {
	t := trim(s)
	if t == "" {
		return nil
	}
	list := strings.Split(t, ",")
	for i := range list {
		list[i] = trim(list[i])
	}
	return list
}

// Bool parses a value of the key; a value that was checked before never fails.
func (k *Key) Bool(value string) (bool, error) { return named[bool](k, value)(ParseBool(value)) }

// Int32 parses a value of the key.
func (k *Key) Int32(value string) (int32, error) { return named[int32](k, value)(ParseInt32(value)) }

// Int64 parses a value of the key. Int and Short keys parse as 64 bits, too.
func (k *Key) Int64(value string) (int64, error) {
	if err := checkType(k.Type, value); err != nil {
		return named[int64](k, value)(0, err)
	}
	return named[int64](k, value)(ParseInt64(value))
}

// Float64 parses a value of the key.
func (k *Key) Float64(value string) (float64, error) {
	return named[float64](k, value)(ParseFloat64(value))
}

// List parses a value of the key.
func (k *Key) List(value string) []string { return ParseList(value) }

// named puts the key's name on an error of parsing.
func named[T any](k *Key, value string) func(T, error) (T, error) {
	return func(v T, err error) (T, error) {
		if err != nil {
			err = &valueError{k, value, err}
		}
		return v, err
	}
}

type valueError struct {
	key   *Key
	value string
	err   error
}

func (e *valueError) Error() string {
	if e.key.Hidden() {
		return "the value of " + e.key.Name + " is not valid: " + e.err.Error()
	}
	return strconv.Quote(e.value) + " is not a valid value of " + e.key.Name + ": " + e.err.Error()
}

func (e *valueError) Unwrap() error { return e.err }

func checkType(t Type, value string) (err error) {
	switch t {
	case Bool:
		_, err = ParseBool(value)
	case Int:
		_, err = ParseInt32(value)
	case Short:
		_, err = ParseInt16(value)
	case Long:
		_, err = ParseInt64(value)
	case Double:
		_, err = ParseFloat64(value)
	}
	return err
}

func canonical(t Type, value string) string {
	s := trim(value)
	switch t {
	case Bool:
		return strings.ToLower(s)
	case Int, Short, Long:
		if n, err := ParseInt64(s); err == nil {
			return strconv.FormatInt(n, 10)
		}
	case Double:
		if f, err := ParseFloat64(s); err == nil {
			return formatDouble(f)
		}
	case List:
		return strings.Join(ParseList(s), ",")
	}
	return s
}

// formatDouble writes a number as Java's Double.toString does: plain between a thousandth and ten million,
// otherwise with an exponent, and always with a digit on both sides of the point.
func formatDouble(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	if a := math.Abs(f); a == 0 || a >= 1e-3 && a < 1e7 {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exponent)
	return mantissa + "E" + strconv.Itoa(n)
}
