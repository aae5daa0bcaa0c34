using 'main.bicep'

// Every parameter is an environment variable; `azd env set NAME VALUE` sets one. Lists are separated by
// commas, telephones are COUNTRY:NUMBER.

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'dev')
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')
param principalId = readEnvironmentVariable('AZURE_PRINCIPAL_ID', '')
param principalType = readEnvironmentVariable('AZURE_PRINCIPAL_TYPE', 'User')
param principalName = readEnvironmentVariable('AZURE_PRINCIPAL_NAME', '')

param profile = readEnvironmentVariable('PROFILE', 'azure_functions')
var fleet = readEnvironmentVariable('FLEET_MAX_CHUNKS', '')
param fleetMaxChunks = empty(fleet) ? null : int(fleet)
var memories = { '512': 512, '2048': 2048, '4096': 4096 }
param instanceMemoryMb = memories[readEnvironmentVariable('INSTANCE_MEMORY_MB', '2048')]
var instances = readEnvironmentVariable('MAXIMUM_INSTANCE_COUNT', '')
param maximumInstanceCount = empty(instances) ? null : int(instances)
param postgresSku = readEnvironmentVariable('POSTGRES_SKU', 'Standard_B1ms')
param vnetEnabled = bool(readEnvironmentVariable('VNET_ENABLED', 'false'))

param notifyEmails = filter(split(readEnvironmentVariable('NOTIFY_EMAILS', ''), ','), address => !empty(address))
param pushEmails = filter(split(readEnvironmentVariable('PUSH_EMAILS', ''), ','), address => !empty(address))
param managerEmails = filter(split(readEnvironmentVariable('MANAGER_EMAILS', ''), ','), address => !empty(address))
param smsReceivers = map(
  filter(split(readEnvironmentVariable('SMS_RECEIVERS', ''), ','), receiver => !empty(receiver)),
  receiver => {
    countryCode: first(split(receiver, ':'))
    phoneNumber: last(split(receiver, ':'))
  }
)
param relay = readEnvironmentVariable('RELAY', 'none')
param relayUrl = readEnvironmentVariable('RELAY_URL', '')
param onCallEnabled = bool(readEnvironmentVariable('ON_CALL_ENABLED', 'false'))
param onCallUrl = readEnvironmentVariable('ON_CALL_URL', '')

param workspaceDailyCapGb = int(readEnvironmentVariable('WORKSPACE_DAILY_CAP_GB', '1'))
