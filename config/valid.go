package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Validator bounds the values of a key beyond its type.
type Validator interface {
	// Check judges a value that is trimmed and parses as the key's type. Its error says what is wanted.
	Check(value string) error
	// String describes the range as documentation shows it: "[1,...]".
	String() string
}

// Func makes a validator of a function. The description stands in documentation.
func Func(description string, check func(value string) error) Validator {
	return funcValidator{description, check}
}

type funcValidator struct {
	description string
	check       func(string) error
}

func (v funcValidator) Check(value string) error { return v.check(value) }
func (v funcValidator) String() string           { return v.description }

// Between accepts whole numbers from min to max, both included.
func Between(min, max int64) Validator {
	return Func(fmt.Sprintf("[%d,...,%d]", min, max), func(value string) error {
		if n, _ := ParseInt64(value); n < min || n > max {
			return fmt.Errorf("want a number between %d and %d", min, max)
		}
		return nil
	})
}

// AtLeast accepts whole numbers from min upwards.
func AtLeast(min int64) Validator {
	return Func(fmt.Sprintf("[%d,...]", min), func(value string) error {
		if n, _ := ParseInt64(value); n < min {
			return fmt.Errorf("want a number of at least %d", min)
		}
		return nil
	})
}

// BetweenFloats accepts numbers from min to max, both included. As in Kafka, NaN is not outside of any range.
func BetweenFloats(min, max float64) Validator {
	description := fmt.Sprintf("[%v,...,%v]", min, max)
	if math.IsInf(max, 1) {
		description = fmt.Sprintf("[%v,...]", min)
	}
	return Func(description, func(value string) error {
		if f, _ := ParseFloat64(value); f < min || f > max {
			return fmt.Errorf("want a number in %s", description)
		}
		return nil
	})
}

// Either accepts what one of two validators accepts.
func Either(a, b Validator) Validator {
	return Func(a.String()+" or "+b.String(), func(value string) error {
		errA := a.Check(value)
		if errA == nil {
			return nil
		}
		if errB := b.Check(value); errB != nil {
			return fmt.Errorf("%w; or %w", errA, errB)
		}
		return nil
	})
}

// Exactly accepts one whole number.
func Exactly(n int64) Validator {
	return Func(fmt.Sprint(n), func(value string) error {
		if got, _ := ParseInt64(value); got != n {
			return fmt.Errorf("want %d", n)
		}
		return nil
	})
}

// In accepts one of the given words.
func In(words ...string) Validator {
	return Func("["+strings.Join(words, ", ")+"]", func(value string) error {
		if !slices.Contains(words, value) {
			return fmt.Errorf("want one of %s", strings.Join(words, ", "))
		}
		return nil
	})
}

// InFold accepts one of the given words in any case.
func InFold(words ...string) Validator {
	return Func("(case insensitive) ["+strings.Join(words, ", ")+"]", func(value string) error {
		if !slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, value) }) {
			return fmt.Errorf("want one of %s", strings.Join(words, ", "))
		}
		return nil
	})
}

// ListOf accepts lists of the given words; the empty list too. A word that stands twice counts once, as in
// Kafka, but an empty element is an error (KIP-1161).
func ListOf(words ...string) Validator { return wordList(words) }

type wordList []string

func (l wordList) Check(value string) error {
	for _, element := range ParseList(value) {
		if !slices.Contains(l, element) {
			return fmt.Errorf("want a list of any of %s", strings.Join(l, ", "))
		}
	}
	return nil
}

func (l wordList) String() string { return "[" + strings.Join(l, ", ") + "]" }

// Distinct accepts lists without an empty or repeated element (KIP-1161); the empty list too.
func Distinct() Validator {
	return Func("distinct elements", func(value string) error {
		list := ParseList(value)
		for i, element := range list {
			if element == "" {
				return errors.New("want a list without empty elements")
			}
			if slices.Contains(list[:i], element) {
				return fmt.Errorf("%q stands in the list twice", element)
			}
		}
		return nil
	})
}

// NonEmpty accepts any text but the empty one; used for lists, any list with an element.
func NonEmpty() Validator {
	return Func("non-empty", func(value string) error {
		if value == "" {
			return errors.New("it must not be empty")
		}
		return nil
	})
}

// All accepts what every one of the validators accepts.
func All(validators ...Validator) Validator {
	names := make([]string, len(validators))
	for i, v := range validators {
		names[i] = v.String()
	}
	return Func(strings.Join(names, ", "), func(value string) error {
		for _, v := range validators {
			if err := v.Check(value); err != nil {
				return err
			}
		}
		return nil
	})
}
