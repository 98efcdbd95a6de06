package audit_test

const crashEnv = "CAMBIST_TEST_AUDIT_CRASH"

func recordUntilKilled(string) {}
