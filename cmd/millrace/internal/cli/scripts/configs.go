package scripts

import "fmt"

func runConfigs(c *call) error { return fmt.Errorf("x") }
