-- Which orchestrator a node has its session with, and until when by the database's clock unless that one renews
-- it: whoever decides knows the nodes of the other control hosts from its first look on.
ALTER TABLE node
    ADD COLUMN session_holder text,
    ADD COLUMN session_until  timestamptz;
