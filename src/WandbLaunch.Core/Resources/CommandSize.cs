using System.Text;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>What a system takes for a program's words and variables.</summary>
internal static class CommandSize
{
    /// <summary>Linux: 32 pages for one string, with its end.</summary>
    internal const int MostBytes = 131_071;

    /// <summary>Says which word or variable no Linux program can be started with.</summary>
    /// <exception cref="LaunchException"><c>CommandTooLarge</c>.</exception>
    internal static void Check(IEnumerable<string> environment, IEnumerable<string> words)
    {
        if (environment.FirstOrDefault(IsTooLarge) is { } variable)
        {
            throw TooLong(
                $"The variable {variable[..Math.Min(variable.IndexOf('=', StringComparison.Ordinal), 100)]}",
                variable
            );
        }

        if (words.FirstOrDefault(IsTooLarge) is { } word)
        {
            throw TooLong($"The argument '{word[..40]}…'", word);
        }
    }

    /// <summary>All of it together is too much: known only when the system says so.</summary>
    internal static LaunchException TooLarge(string id, Exception? inner) =>
        new(
            "CommandTooLarge",
            LaunchErrorCategory.InvalidArgument,
            OperatingSystem.IsWindows()
                ? "The program and its arguments are together longer than the 32,767 characters that Windows takes. Put large values into a file of the code or an artifact."
                : "The program's arguments and environment variables are together larger than the system takes (about 2 MiB on Linux). Put large values into a file of the code or an artifact.",
            id,
            inner
        );

    private static LaunchException TooLong(string what, string text) =>
        new(
            "CommandTooLarge",
            LaunchErrorCategory.InvalidArgument,
            $"{what} is {Encoding.UTF8.GetByteCount(text)} bytes long, and a program takes {MostBytes} at most. Put large values into a file of the code or an artifact.",
            what
        );

    private static bool IsTooLarge(string text) =>
        text.Length > MostBytes / 3 && Encoding.UTF8.GetByteCount(text) > MostBytes;
}
