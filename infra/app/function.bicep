// The app on Flex Consumption.

import { profileName, instanceMemory } from '../types.bicep'

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the plan.')
param planName string

@description('Name of the app.')
param name string

@description('Resource id of the identity of the app.')
param identityId string

@description('Client id of the identity.')
param identityClientId string

@description('Principal of the identity.')
param identityPrincipalId string

@description('User name in the database: the name of the identity.')
param databaseUser string

@description('Host name of the database server.')
param databaseHost string

@description('Name of the database.')
param databaseName string

@description('Resource id of the database server, asked for CPU and memory.')
param serverId string

@description('Account of the host.')
param hostAccountName string

@description('Container of the package.')
param packageContainer string

@description('Account of the work.')
param dataAccountName string

@description('Application Insights component.')
param componentName string

@description('Subnet of the app; null: none.')
param subnetId string?

@description('Preset of limits.')
param profile profileName

@description('Chunks at once over all instances.')
param fleetMaxChunks int

@description('Memory of an instance in MB.')
param instanceMemoryMb instanceMemory

@description('Most instances of each function.')
param maximumInstanceCount int

var roles = loadJsonContent('../roles.json')

resource host 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: hostAccountName
}

resource data 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: dataAccountName
}

resource component 'Microsoft.Insights/components@2020-02-02' existing = {
  name: componentName
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: { reserved: true }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'api' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: subnetId
    siteConfig: { minTlsVersion: '1.2' }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${host.properties.primaryEndpoints.blob}${packageContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'custom'
        version: '1.0'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMb
        maximumInstanceCount: maximumInstanceCount
      }
    }
  }

  resource settings 'config' = {
    name: 'appsettings'
    properties: {
      AzureWebJobsStorage__credential: 'managedidentity'
      AzureWebJobsStorage__clientId: identityClientId
      AzureWebJobsStorage__blobServiceUri: host.properties.primaryEndpoints.blob
      AzureWebJobsStorage__tableServiceUri: host.properties.primaryEndpoints.table
      ChunkStorage__credential: 'managedidentity'
      ChunkStorage__clientId: identityClientId
      ChunkStorage__blobServiceUri: data.properties.primaryEndpoints.blob
      ChunkStorage__queueServiceUri: data.properties.primaryEndpoints.queue
      APPLICATIONINSIGHTS_CONNECTION_STRING: component.properties.ConnectionString
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
      DATABASE_URL: 'postgres://${databaseUser}@${databaseHost}:5432/${databaseName}?sslmode=verify-full'
      PIXCRAWLER_DATABASE_CREDENTIAL: 'entra'
      PIXCRAWLER_ENVIRONMENT: profile
      PIXCRAWLER_FLEET_MAX_CHUNKS: string(fleetMaxChunks)
      PIXCRAWLER_INSTANCE_MEMORY_MB: string(instanceMemoryMb)
      PIXCRAWLER_MONITOR_RESOURCE_ID: app.id
      PIXCRAWLER_MONITOR_POSTGRES_RESOURCE_ID: serverId
    }
  }

  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: { allow: false }
  }

  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: false }
  }
}

// The health check asks Azure Monitor for the CPU and the memory of the app.
resource appMetrics 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: app
  name: guid(app.id, identityPrincipalId, roles.monitoringReader)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.monitoringReader)
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
  }
}

@description('Resource id of the app.')
output id string = app.id

@description('Name of the app.')
output name string = app.name
