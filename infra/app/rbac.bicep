// Every role but one, each at the smallest scope that works. The one that needs the app itself
// (Monitoring Reader) is in function.bicep, for the app comes after the roles that it needs at its start.

import { deployerType } from '../types.bicep'

@description('Principal of the app.')
param appPrincipalId string

@description('Principal of the remediation workflow.')
param remediationPrincipalId string

@description('Principal that deploys; empty: none.')
param deployerPrincipalId string

@description('What the principal is that deploys.')
param deployerPrincipalType deployerType

@description('Account of the host.')
param hostAccountName string

@description('Account of the work.')
param dataAccountName string

@description('Application Insights component.')
param componentName string

@description('Database server.')
param serverName string

var roles = loadJsonContent('../roles.json')

resource host 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: hostAccountName
}

resource data 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: dataAccountName

  resource blobs 'blobServices' existing = {
    name: 'default'

    resource sources 'containers' existing = {
      name: 'chunk-sources'
    }

    resource datasets 'containers' existing = {
      name: 'pixcrawler-datasets'
    }
  }

  resource queues 'queueServices' existing = {
    name: 'default'

    resource control 'queues' existing = {
      name: 'chunk-control'
    }
  }
}

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: componentName
}

resource server 'Microsoft.DBforPostgreSQL/flexibleServers@2025-08-01' existing = {
  name: serverName
}

// Names have the principal in them: of an identity that was made anew the assignments are new ones, too.
// Azure refuses to give an assignment another principal.

// The host's own: locks and the package, and its diagnostic events.
resource hostBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: host
  name: guid(host.id, appPrincipalId, roles.storageBlobDataOwner)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataOwner)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource hostTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: host
  name: guid(host.id, appPrincipalId, roles.storageTableDataContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageTableDataContributor
    )
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// The work: lists are only read, shards are written, four queues are read and written.
resource sources 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: data::blobs::sources
  name: guid(data::blobs::sources.id, appPrincipalId, roles.storageBlobDataReader)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataReader)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource datasets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: data::blobs::datasets
  name: guid(data::blobs::datasets.id, appPrincipalId, roles.storageBlobDataContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageBlobDataContributor
    )
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource queues 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: data
  name: guid(data.id, appPrincipalId, roles.storageQueueDataContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageQueueDataContributor
    )
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource telemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: component
  name: guid(component.id, appPrincipalId, roles.monitoringMetricsPublisher)
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.monitoringMetricsPublisher
    )
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource serverMetrics 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: server
  name: guid(server.id, appPrincipalId, roles.monitoringReader)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.monitoringReader)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// The workflow that answers an alert only puts messages on one queue.
resource remediation 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: data::queues::control
  name: guid(data::queues::control.id, remediationPrincipalId, roles.storageQueueDataMessageSender)
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageQueueDataMessageSender
    )
    principalId: remediationPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// chunkctl, run by whoever deploys.
resource deployerBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(deployerPrincipalId)) {
  scope: data
  name: guid(data.id, deployerPrincipalId, roles.storageBlobDataContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageBlobDataContributor
    )
    principalId: deployerPrincipalId
    principalType: deployerPrincipalType
  }
}

resource deployerQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(deployerPrincipalId)) {
  scope: data
  name: guid(data.id, deployerPrincipalId, roles.storageQueueDataContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageQueueDataContributor
    )
    principalId: deployerPrincipalId
    principalType: deployerPrincipalType
  }
}
