# Three tests with three outcomes, for run-tests.test.
import lit.formats
config.name = "suite"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".test"]
