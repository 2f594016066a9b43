-- Which process works on a run, by a random id of its own: host names and process ids repeat, and `owner` is a name for
-- people. A run keeps its fence as long as its holder stays the same.
ALTER TABLE evenkeel.background_function_run ADD COLUMN holder uuid;
