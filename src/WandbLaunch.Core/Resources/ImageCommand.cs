using WandbLaunch.Sources;

namespace WandbLaunch.Resources;

/// <summary>What starts a program in an image that holds its code.</summary>
internal static class ImageCommand
{
    /// <summary>Where the code is.</summary>
    internal const string Home = "/home/launch";

    /// <summary>On every image that was made for runs.</summary>
    internal const string ImageLabel = "ai.wandb.launch-image";

    /// <summary>The words, with the program that runs the first of them where that is a script.</summary>
    internal static List<string> Of(IReadOnlyList<string> entryPoint)
    {
        var entry = entryPoint.ToList();
        if (entry.Count > 0)
        {
            entry.InsertRange(
                0,
                Path.GetExtension(entry[0]) switch
                {
                    ".py" => ["python"],
                    ".sh" => ["bash"],
                    ".ps1" => ["pwsh", .. EntryPoint.ScriptWords],
                    _ => [],
                }
            );
        }

        return entry;
    }
}
