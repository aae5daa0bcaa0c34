// The whole deployment: one resource group with the app, its storage, its database, its telemetry and
// its alerts. There is no secret in it: every login is an identity with a role.

targetScope = 'subscription'

import {
  profileName
  profileTable
  instanceMemory
  deployerType
  relayKind
  smsReceiver
  postgresSize
  postgresDisk
  postgresTable
} from 'types.bicep'

@description('Name of the environment; names of resources follow from it.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region of everything.')
@metadata({ azd: { type: 'location' } })
@minLength(1)
param location string

@description('Principal that deploys and may use chunkctl; empty: none.')
param principalId string = ''

@description('What that principal is.')
param principalType deployerType = 'User'

@description('Name of that principal, its user name in the database; empty: it has no login there.')
param principalName string = ''

@description('Preset of limits.')
param profile profileName = 'azure_functions'

@description('Chunks at once over all instances; null: those of one instance.')
@minValue(1)
@maxValue(10000)
param fleetMaxChunks int?

@description('Memory of an instance in MB.')
param instanceMemoryMb instanceMemory = 2048

@description('Most instances of each function; null: as many as the fleet needs.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int?

@description('Size of the database.')
param postgresSku postgresSize = 'Standard_B1ms'

@description('Disk of the database in GB; it grows by itself, and can never be made smaller.')
param postgresStorageGb postgresDisk = 32

@description('Whether app and database have a network of their own, and storage takes nobody else.')
param vnetEnabled bool = false

@description('Mail addresses that are notified.')
param notifyEmails string[] = []

@description('Accounts whose Azure app is notified.')
param pushEmails string[] = []

@description('Mail addresses of whoever hears of what was not mended.')
param managerEmails string[] = []

@description('Telephones that are told of the disk.')
param smsReceivers smsReceiver[] = []

@description('Where notifications are repeated.')
param relay relayKind = 'none'

@description('Incoming webhook of Slack or Teams.')
@secure()
param relayUrl string = ''

@description('Whether somebody is on call.')
param onCallEnabled bool = false

@description('Webhook of the on-call service.')
@secure()
param onCallUrl string = ''

@description('GB a day after which telemetry is refused.')
@minValue(1)
param workspaceDailyCapGb int = 1

var abbreviations = loadJsonContent('abbreviations.json')
var profiles profileTable = loadJsonContent('profiles.json')

// The resource group is named after it, and there capitals make no difference.
var named = toLower(environmentName) == environmentName && !endsWith(environmentName, '.') && !endsWith(
  environmentName,
  '-'
)
var environmentOrFail = named
  ? environmentName
  : fail('the environment is named ${environmentName}: take small letters, and no dot or dash at the end')
var token = toLower(uniqueString(subscription().id, environmentOrFail, location))
var tags = { 'azd-env-name': environmentOrFail }

var limits = profiles[profile]
var fleet = fleetMaxChunks ?? limits.max_chunks
var wantedInstances = maximumInstanceCount ?? (fleet + limits.max_chunks - 1) / limits.max_chunks
var userConnections = postgresTable[postgresSku].userConnections

// Five for each process. Chunks, control messages and the timer have instances of their own; the latter
// two need one each, and twice as many while an update is rolled out.
var connections = 5 * (wantedInstances + 4)
var instances = connections <= userConnections
  ? wantedInstances
  : fail('${wantedInstances} instances may open ${connections} connections, ${postgresSku} has ${userConnections}: take a larger postgresSku or a smaller fleet')

var packageContainer = 'app-package'
var identityName = '${abbreviations.identity}${token}'
var dataAccountName = '${abbreviations.storageAccount}data${token}'
var relayName = '${abbreviations.workflow}relay-${token}'

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: '${abbreviations.resourceGroup}${environmentOrFail}'
  location: location
  tags: tags
}

module identity 'app/identity.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    name: identityName
  }
}

module monitor 'app/monitor.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    workspaceName: '${abbreviations.workspace}${token}'
    componentName: '${abbreviations.component}${token}'
    dailyCapGb: workspaceDailyCapGb
  }
}

module network 'app/network.bicep' = if (vnetEnabled) {
  scope: group
  params: {
    location: location
    tags: tags
    name: '${abbreviations.virtualNetwork}${token}'
    zoneName: '${token}.private.postgres.database.azure.com'
  }
}

module remediation 'app/remediation.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    name: '${abbreviations.workflow}remediation-${token}'
    dataAccountName: dataAccountName
  }
}

module storage 'app/storage.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    hostAccountName: '${abbreviations.storageAccount}host${token}'
    dataAccountName: dataAccountName
    packageContainer: packageContainer
    subnetId: vnetEnabled ? network!.outputs.appSubnetId : null
    remediationId: remediation.outputs.id
  }
}

module postgres 'app/postgres.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    name: '${abbreviations.postgres}${token}'
    sku: postgresSku
    storageGb: postgresStorageGb
    subnetId: vnetEnabled ? network!.outputs.postgresSubnetId : null
    zoneId: vnetEnabled ? network!.outputs.zoneId : null
    appName: identityName
    appPrincipalId: identity.outputs.principalId
    personName: principalName
    personPrincipalId: principalId
    personType: principalType
  }
}

module rbac 'app/rbac.bicep' = {
  scope: group
  params: {
    appPrincipalId: identity.outputs.principalId
    remediationPrincipalId: remediation.outputs.principalId
    deployerPrincipalId: principalId
    deployerPrincipalType: principalType
    hostAccountName: storage.outputs.hostAccountName
    dataAccountName: storage.outputs.dataAccountName
    componentName: monitor.outputs.componentName
    serverName: postgres.outputs.serverName
  }
}

module app 'app/function.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    planName: '${abbreviations.plan}${token}'
    name: '${abbreviations.functionApp}${token}'
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    identityPrincipalId: identity.outputs.principalId
    databaseUser: identityName
    databaseHost: postgres.outputs.host
    databaseName: postgres.outputs.database
    serverId: postgres.outputs.serverId
    hostAccountName: storage.outputs.hostAccountName
    packageContainer: packageContainer
    dataAccountName: storage.outputs.dataAccountName
    componentName: monitor.outputs.componentName
    subnetId: vnetEnabled ? network!.outputs.appSubnetId : null
    profile: profile
    fleetMaxChunks: fleet
    instanceMemoryMb: instanceMemoryMb
    maximumInstanceCount: instances
  }
  // The host asks for its storage as soon as it starts.
  dependsOn: [rbac]
}

module alerts 'alerts.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    componentId: monitor.outputs.componentId
    serverId: postgres.outputs.serverId
    userConnections: userConnections
    fleetMaxChunks: fleet
    tempQuotaMb: limits.quota_mb
    remediationName: remediation.outputs.name
    relayName: relayName
    notifyEmails: notifyEmails
    pushEmails: pushEmails
    managerEmails: managerEmails
    smsReceivers: smsReceivers
    relay: relay
    relayUrl: relayUrl
    onCallEnabled: onCallEnabled
    onCallUrl: onCallUrl
  }
}

module workbook 'workbook.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    componentId: monitor.outputs.componentId
    appId: app.outputs.id
    serverId: postgres.outputs.serverId
    tempLimitMb: limits.temp_mb
    tempQuotaMb: limits.quota_mb
  }
}

@description('Resource group of everything.')
output AZURE_RESOURCE_GROUP string = group.name

@description('The app that azd deploys the package to.')
output SERVICE_API_NAME string = app.outputs.name

@description('For chunkctl: ChunkStorage__blobServiceUri.')
output CHUNK_STORAGE_BLOB_URI string = storage.outputs.dataBlobUri

@description('For chunkctl: ChunkStorage__queueServiceUri.')
output CHUNK_STORAGE_QUEUE_URI string = storage.outputs.dataQueueUri

@description('For chunkctl: the host in DATABASE_URL.')
output POSTGRES_HOST string = postgres.outputs.host

@description('User name of the app in the database.')
output POSTGRES_APP_USER string = identityName
