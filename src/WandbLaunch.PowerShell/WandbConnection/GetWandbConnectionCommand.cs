using System.Management.Automation;

namespace WandbLaunch.PowerShell;

/// <summary>Shows the session's connection.</summary>
/// <remarks>Shows which server, user, entity and project commands use, and where the key came from. The key itself is never shown. Without a connection nothing is written, unless -Test is given, which connects by the settings.</remarks>
/// <example><para>Who am I?</para><code>Connect-Wandb -Local; Get-WandbConnection</code><para>Shows the server, the user and the entity.</para></example>
/// <example><para>Find out whether the saved settings work</para><code>Get-WandbConnection -Test</code><para>Connects by the settings where there is no connection, and asks the server who is logged in.</para></example>
/// <example><para>Which key is used, and where does it come from?</para><code>Connect-Wandb -Local; Get-WandbConnection | Select-Object BaseUrl, Username, ApiKeySource</code><para>The key itself is never shown.</para></example>
[Cmdlet(VerbsCommon.Get, "WandbConnection")]
[OutputType("WandbLaunch.Wandb.WandbConnection")]
public sealed class GetWandbConnectionCommand : AsyncPSCmdlet
{
    /// <summary>Ask the server now whether the connection works.</summary>
    [Parameter]
    public SwitchParameter Test { get; set; }

    /// <inheritdoc/>
    protected override async Task EndAsync()
    {
        if (Test)
        {
            var connection = await GetConnectionAsync(null);
            _ = await connection.Api.ViewerAsync(Token);
        }

        if (WandbSession.Current is { } current)
        {
            Output(current);
        }
    }
}
