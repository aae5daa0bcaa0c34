// Two accounts: crawling can neither slow down nor fill what the host keeps for itself.

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Account of the host: its locks, its events and the package of the app.')
param hostAccountName string

@description('Account of the work: lists of URLs, shards and queues.')
param dataAccountName string

@description('Container of the package.')
param packageContainer string

@description('The only subnet that may come in; null: every address may, with a role.')
param subnetId string?

@description('The workflow that writes to the control queue from outside of the subnet.')
param remediationId string

var restricted = subnetId != null
var subnetRules = restricted ? [{ id: subnetId!, action: 'Allow' }] : []

resource host 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: hostAccountName
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    allowSharedKeyAccess: false
    allowBlobPublicAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    networkAcls: {
      defaultAction: restricted ? 'Deny' : 'Allow'
      bypass: 'None'
      virtualNetworkRules: subnetRules
    }
  }

  resource blobs 'blobServices' = {
    name: 'default'

    resource package 'containers' = {
      name: packageContainer
    }
  }
}

resource data 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: dataAccountName
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    allowSharedKeyAccess: false
    allowBlobPublicAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    networkAcls: {
      defaultAction: restricted ? 'Deny' : 'Allow'
      bypass: 'None'
      virtualNetworkRules: subnetRules
      resourceAccessRules: restricted ? [{ tenantId: tenant().tenantId, resourceId: remediationId }] : []
    }
  }

  resource blobs 'blobServices' = {
    name: 'default'

    resource sources 'containers' = {
      name: 'chunk-sources'
    }

    resource datasets 'containers' = {
      name: 'pixcrawler-datasets'
    }
  }

  resource queues 'queueServices' = {
    name: 'default'

    resource chunks 'queues' = {
      name: 'chunks'
    }

    resource chunksPoison 'queues' = {
      name: 'chunks-poison'
    }

    resource control 'queues' = {
      name: 'chunk-control'
    }

    resource controlPoison 'queues' = {
      name: 'chunk-control-poison'
    }
  }
}

@description('Account of the host.')
output hostAccountName string = host.name

@description('Account of the work.')
output dataAccountName string = data.name

@description('Where lists of URLs and shards are.')
output dataBlobUri string = data.properties.primaryEndpoints.blob

@description('Where the queues are.')
output dataQueueUri string = data.properties.primaryEndpoints.queue
