using System.Runtime.InteropServices;
using WandbLaunch.Foundation;

namespace WandbLaunch.Sources;

/// <summary>The few libgit2 functions that LibGit2Sharp 0.32 does not offer: patches applied to a tree (libgit2 1.9, apply.h, diff.h).</summary>
// Strings go as UTF-8, which CA2101 does not know.
#pragma warning disable CA2101
internal static unsafe class GitNative
{
    private const string Library = "git2-5853918";

    internal sealed class PatchFault(string message, string? file, int hunk) : Exception(message)
    {
        internal string? File { get; } = file;
        internal int Hunk { get; } = hunk;
    }

    private sealed class Progress
    {
        internal string? File;
        internal int Hunk;
    }

    /// <summary>Applies a patch to a tree of a bare repository and gives the id of the new tree. Nothing on disk but objects changes.</summary>
    /// <exception cref="PatchFault">Names the file and hunk that does not fit.</exception>
    internal static string ApplyToTree(string repositoryPath, string treeId, byte[] patch)
    {
        _ = LibGit2Sharp.GlobalSettings.Version;
        IntPtr repository = 0,
            diff = 0,
            tree = 0,
            index = 0;
        var progress = new Progress();
        var handle = GCHandle.Alloc(progress);
        try
        {
            Check(git_libgit2_init());
            Check(git_repository_open_bare(out repository, repositoryPath));
            Check(git_oid_fromstr(out var id, treeId));
            Check(git_tree_lookup(out tree, repository, in id));
            fixed (byte* content = patch)
            {
                var parsed = git_diff_from_buffer(out diff, content, (nuint)patch.Length);
                if (parsed < 0)
                {
                    throw new PatchFault(LastError(), null, 0);
                }
            }

            var options = new ApplyOptions
            {
                Version = 1,
                DeltaCallback = &OnDelta,
                HunkCallback = &OnHunk,
                Payload = GCHandle.ToIntPtr(handle),
            };
            if (git_apply_to_tree(out index, repository, tree, diff, ref options) < 0)
            {
                throw new PatchFault(LastError(), progress.File, progress.Hunk);
            }

            Check(git_index_write_tree_to(out var result, index, repository));
            return Convert.ToHexString(new ReadOnlySpan<byte>(result.Bytes, 20)).ToLowerInvariant();
        }
        finally
        {
            handle.Free();
            git_index_free(index);
            git_diff_free(diff);
            git_tree_free(tree);
            git_repository_free(repository);
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(System.Runtime.CompilerServices.CallConvCdecl)])]
    private static int OnDelta(DiffDelta* delta, IntPtr payload)
    {
        var progress = (Progress)GCHandle.FromIntPtr(payload).Target!;
        progress.File = Marshal.PtrToStringUTF8(delta->New.Path) ?? Marshal.PtrToStringUTF8(delta->Old.Path);
        progress.Hunk = 0;
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(System.Runtime.CompilerServices.CallConvCdecl)])]
    private static int OnHunk(IntPtr hunk, IntPtr payload)
    {
        ((Progress)GCHandle.FromIntPtr(payload).Target!).Hunk++;
        return 0;
    }

    private static void Check(int code)
    {
        if (code < 0)
        {
            throw new LaunchException(
                "GitFailed",
                LaunchErrorCategory.InvalidOperation,
                $"git failed: {LastError()} If it stays, fetch the repository anew: Clear-WandbLaunchCache -Kind git"
            );
        }
    }

    private static string LastError()
    {
        var error = git_error_last();
        return error == 0 ? "unknown error" : Marshal.PtrToStringUTF8(Marshal.ReadIntPtr(error)) ?? "unknown error";
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Oid
    {
        internal fixed byte Bytes[20];
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct DiffFile
    {
        internal Oid Id;
        internal IntPtr Path;
        internal ulong Size;
        internal uint Flags;
        internal ushort Mode;
        internal ushort IdAbbreviation;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct DiffDelta
    {
        internal int Status;
        internal uint Flags;
        internal ushort Similarity;
        internal ushort Files;
        internal DiffFile Old;
        internal DiffFile New;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct ApplyOptions
    {
        internal uint Version;
        internal delegate* unmanaged[Cdecl]<DiffDelta*, IntPtr, int> DeltaCallback;
        internal delegate* unmanaged[Cdecl]<IntPtr, IntPtr, int> HunkCallback;
        internal IntPtr Payload;
        internal uint Flags;
    }

    [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
    private static extern int git_libgit2_init();

    [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
    private static extern int git_repository_open_bare(
        out IntPtr repository,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string path
    );

    [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
    private static extern void git_repository_free(IntPtr repository);

    [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
    private static extern int git_oid_fromstr(out Oid id, [MarshalAs(UnmanagedType.LPUTF8Str)] string text);

    [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
    private static extern int git_tree_lookup(out IntPtr tree, IntPtr repository, in Oid id);

    [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
    private static extern void git_tree_free(IntPtr tree);

    [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
    private static extern int git_diff_from_buffer(out IntPtr diff, byte* content, nuint length);

    [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
    private static extern void git_diff_free(IntPtr diff);

    [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
    private static extern int git_apply_to_tree(
        out IntPtr index,
        IntPtr repository,
        IntPtr preimage,
        IntPtr diff,
        ref ApplyOptions options
    );

    [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
    private static extern int git_index_write_tree_to(out Oid id, IntPtr index, IntPtr repository);

    [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
    private static extern void git_index_free(IntPtr index);

    [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
    private static extern IntPtr git_error_last();
}
