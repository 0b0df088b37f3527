using System.Management.Automation;
using WandbLaunch.LocalServer;

namespace WandbLaunch.PowerShell;

/// <summary>Base of the commands that open a page in the browser.</summary>
public abstract class PageCommand : PipelineCommand
{
    /// <summary>Write the address too. Where there is no browser it is written in any case.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    private protected async Task OpenAsync(string address)
    {
        if (!await ShouldProcessAsync(address, "Open in the browser"))
        {
            return;
        }

        var opened = await ServerPage.OpenAsync(Context, address, Token);
        if (!opened)
        {
            Verbose("There is no browser here: open the address yourself. The variable BROWSER names one.");
        }

        if (PassThru || !opened)
        {
            Output(address);
        }
    }

    /// <summary>Whether a text can be a page's address.</summary>
    private protected static bool IsPage(string? text) =>
        text?.StartsWith("http://", StringComparison.OrdinalIgnoreCase) == true
        || text?.StartsWith("https://", StringComparison.OrdinalIgnoreCase) == true;
}
