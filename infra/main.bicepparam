using 'main.bicep'

import { entries, isAddress, isTelephone } from 'lists.bicep'

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
var memory = readEnvironmentVariable('INSTANCE_MEMORY_MB', '2048')
param instanceMemoryMb = memories[?memory] ?? fail('INSTANCE_MEMORY_MB is ${memory}, and may be 512, 2048 or 4096')
var instances = readEnvironmentVariable('MAXIMUM_INSTANCE_COUNT', '')
param maximumInstanceCount = empty(instances) ? null : int(instances)
param postgresSku = readEnvironmentVariable('POSTGRES_SKU', 'Standard_B1ms')
var disks = {
  '32': 32
  '64': 64
  '128': 128
  '256': 256
  '512': 512
  '1024': 1024
  '2048': 2048
  '4095': 4095
  '4096': 4096
  '8192': 8192
  '16384': 16384
  '32767': 32767
}
var disk = readEnvironmentVariable('POSTGRES_STORAGE_GB', '32')
param postgresStorageGb = disks[?disk] ?? fail('POSTGRES_STORAGE_GB is ${disk}, and may be ${join(map(items(disks), one => one.key), ', ')}')
param vnetEnabled = bool(readEnvironmentVariable('VNET_ENABLED', 'false'))

var notify = entries(readEnvironmentVariable('NOTIFY_EMAILS', ''))
var push = entries(readEnvironmentVariable('PUSH_EMAILS', ''))
var manager = entries(readEnvironmentVariable('MANAGER_EMAILS', ''))
var noAddresses = filter(union(notify, push, manager), entry => !isAddress(entry))
param notifyEmails = empty(noAddresses) ? notify : fail('not a mail address: ${join(noAddresses, ', ')}')
param pushEmails = push
param managerEmails = manager
// Azure wants digits alone; people write +49.
var telephones = entries(replace(replace(readEnvironmentVariable('SMS_RECEIVERS', ''), '+', ''), ' ', ''))
param smsReceivers = map(
  telephones,
  entry =>
    isTelephone(entry)
      ? { countryCode: first(split(entry, ':')), phoneNumber: last(split(entry, ':')) }
      : fail('SMS_RECEIVERS has ${entry}, which is not COUNTRY:NUMBER, such as 49:1701234567')
)

// A secure parameter cannot be looked at once it is one: a URL is judged here, and never shown.
var relayTo = readEnvironmentVariable('RELAY', 'none')
var relayAddress = readEnvironmentVariable('RELAY_URL', '')
param relay = relayTo
param relayUrl = relayTo == 'none' || startsWith(relayAddress, 'https://')
  ? relayAddress
  : fail('RELAY is ${relayTo}, and RELAY_URL does not begin with https://')
var onCall = bool(readEnvironmentVariable('ON_CALL_ENABLED', 'false'))
var onCallAddress = readEnvironmentVariable('ON_CALL_URL', '')
param onCallEnabled = onCall
param onCallUrl = !onCall || startsWith(onCallAddress, 'https://')
  ? onCallAddress
  : fail('ON_CALL_ENABLED is true, and ON_CALL_URL does not begin with https://')

param workspaceDailyCapGb = int(readEnvironmentVariable('WORKSPACE_DAILY_CAP_GB', '1'))
