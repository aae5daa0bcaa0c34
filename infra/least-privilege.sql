-- A role for the handler in the place of an Entra administrator: it may connect to one database and
-- make a schema there, and nothing else. The handler makes and migrates its schema as this role.
--
-- Do this after `azd provision` and before the first `azd deploy`: a schema that the administrator made
-- stays the administrator's. If it is there already and holds nothing to keep: drop schema chunk_handler
-- cascade. The next `azd provision` makes the app's identity an administrator again.
-- Variables of psql: role is the user in DATABASE_URL, the name of the app's identity; azure is on where
-- the role does not exist yet and Entra knows it; others are whoever else logs in to this database.
--
--   psql -v ON_ERROR_STOP=1 -v azure=on -v role=id-app -v database=pixcrawler \
--     -v others='"you@example.com", reader' -f infra/least-privilege.sql 'host=... dbname=postgres'
--
-- CONNECT is taken from everybody, so from you and from a role that only reads as well: name them in
-- others, each as an SQL name, or give it later:
--
--   grant connect on database pixcrawler to "you@example.com", reader;

-- Azure only, as an Entra administrator, in database postgres. The administrator of the same name is
-- taken away first: az postgres flexible-server microsoft-entra-admin delete
-- https://learn.microsoft.com/azure/postgresql/flexible-server/security-manage-entra-users
\if :{?azure}
\if :azure
select * from pgaadauth_create_principal(:'role', false, false);
\endif
\endif

-- You and others; that they may connect is said before everybody else no longer may.
\if :{?others}
grant connect on database :"database" to :others;
\endif

-- Any server:
revoke all on database :"database" from public;
grant connect, create on database :"database" to :"role";
