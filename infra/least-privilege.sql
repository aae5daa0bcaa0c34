-- A role for the handler in the place of an Entra administrator: it may connect to one database and
-- make a schema there, and nothing else. The handler makes and migrates its schema as this role.
--
-- Do this after `azd provision` and before the first `azd deploy`: a schema that the administrator made
-- stays the administrator's. If it is there already and holds nothing to keep: drop schema chunk_handler
-- cascade. The next `azd provision` makes the app's identity an administrator again.
-- Variables of psql: role is the user in DATABASE_URL, the name of the app's identity.
--
--   psql -v ON_ERROR_STOP=1 -v role=id-app -v database=pixcrawler -f infra/least-privilege.sql 'host=... dbname=postgres'
--
-- Azure only, as an Entra administrator, in database postgres. The administrator of the same name is
-- taken away first: az postgres flexible-server microsoft-entra-admin delete
-- https://learn.microsoft.com/azure/postgresql/flexible-server/security-manage-entra-users
select * from pgaadauth_create_principal(:'role', false, false);

-- Any server:
revoke all on database :"database" from public;
grant connect, create on database :"database" to :"role";
